"""What a net looks at: saliency maps for every rule of the project, and measures that tell whether to believe them."""

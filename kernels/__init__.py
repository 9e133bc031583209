"""The hot loops, once per backend: `contract` says what each kernel computes, `reference` is the truth, `cpu` is fast."""

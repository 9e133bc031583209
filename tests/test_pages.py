"""Large arrays on large pages: copies like others."""

import mmap

import numpy as np
import pytest

from ffnp.kernels.cpu import pages

LARGE = np.arange(2 * pages.HUGE // 4 + 6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("view", [lambda a: a, lambda a: a[::-1], lambda a: a.reshape(-1, 2), lambda a: a.reshape(2, -1).T])
def test_a_large_array_is_copied(dtype, view):
    a = view(LARGE.astype(dtype))
    there = pages.put(a)
    assert there.flags.c_contiguous and there.flags.writeable and there.dtype == dtype
    np.testing.assert_array_equal(there, a)
    there[0] += 1
    assert not np.array_equal(there, a) and not np.shares_memory(there, a)


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="this system gives no large pages")
def test_a_large_array_begins_on_a_page_and_a_small_one_takes_none():
    assert pages.put(LARGE).ctypes.data % pages.HUGE == 0
    assert pages.put(LARGE[:10]).base is None


def test_without_large_pages_it_lies_as_others_do(monkeypatch):
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    there = pages.put(LARGE)
    assert there.base is None
    np.testing.assert_array_equal(there, LARGE)

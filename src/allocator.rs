//! Memory of the program: mimalloc for what is small, the C library for the rest.
//!
//! The keeper hands mails from thread to thread, so that what one thread takes another gives back; glibc is slow at that.
//! But glibc moves no bytes where a large buffer grows (`mremap`), and gives whole blocks back to the system, which is the
//! only way for memory that is locked: with mimalloc for all, a mail of 100 MB takes four times its size, and the keeper
//! keeps all that it ever had.

#![allow(unsafe_code)]

use libmimalloc_sys as mimalloc;
use std::alloc::{GlobalAlloc, Layout, System};

/// The global allocator.
pub struct Allocator;

/// From this size on, in bytes, memory is the C library's.
const LARGE: usize = 2 << 10;

/// Alignment in bytes that each of mimalloc's blocks has, so that it need not be asked for.
const ALIGNED: usize = size_of::<usize>();

#[inline]
const fn is_large(size: usize) -> bool {
    size >= LARGE
}

#[inline]
const fn is_aligned(align: usize) -> bool {
    align <= ALIGNED
}

// SAFETY: both allocators keep the contract, and a layout's size tells at every later call which of them a block is from.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe {
            if is_large(layout.size()) {
                System.alloc(layout)
            } else if is_aligned(layout.align()) {
                mimalloc::mi_malloc(layout.size()).cast()
            } else {
                mimalloc::mi_malloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe {
            if is_large(layout.size()) {
                System.alloc_zeroed(layout)
            } else if is_aligned(layout.align()) {
                mimalloc::mi_zalloc(layout.size()).cast()
            } else {
                mimalloc::mi_zalloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on; the layout is the one that the block was taken with.
        unsafe {
            if is_large(layout.size()) {
                System.dealloc(block, layout);
            } else {
                mimalloc::mi_free(block.cast());
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size` is valid with the layout's alignment, and that the block has the layout.
        unsafe {
            match (is_large(layout.size()), is_large(size)) {
                (true, true) => System.realloc(block, layout, size),
                (false, false) if is_aligned(layout.align()) => {
                    mimalloc::mi_realloc(block.cast(), size).cast()
                }
                (false, false) => {
                    mimalloc::mi_realloc_aligned(block.cast(), size, layout.align()).cast()
                }
                _ => {
                    let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_block_keeps_its_bytes_across_all_sizes(
            sizes in prop::collection::vec(prop_oneof![1..5000_usize, LARGE - 9..LARGE + 9, 1..3 * LARGE], 1..12),
            align in 0..7_u32,
        ) {
            let align = 1 << align;
            let layout = |size| Layout::from_size_align(size, align).unwrap();
            let byte = |at: usize| (at % 251) as u8;
            let mut size = sizes[0];
            // SAFETY: each block is used within its size, and given back with its layout.
            unsafe {
                let mut block = Allocator.alloc_zeroed(layout(size));
                prop_assert!(std::slice::from_raw_parts(block, size).iter().all(|&zero| zero == 0));
                let mut written = 0;
                for next in sizes {
                    block = Allocator.realloc(block, layout(size), next);
                    prop_assert_eq!(block as usize % align, 0);
                    size = next;
                    let bytes = std::slice::from_raw_parts_mut(block, size);
                    let kept = bytes.iter().take(written).enumerate();
                    prop_assert!(kept.into_iter().all(|(at, &found)| found == byte(at)));
                    for (at, place) in bytes.iter_mut().enumerate() {
                        *place = byte(at);
                    }
                    written = size;
                }
                Allocator.dealloc(block, layout(size));
            }
        }
    }
}

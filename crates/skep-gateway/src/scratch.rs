//! One buffer per thread for everything that passes through.
//!
//! Bytes are read into it and written out of it before anything else runs on the thread, so a connection needs memory of
//! its own only while the other side cannot take what was read: thousands of idle watches hold no buffer at all.

use std::cell::RefCell;

/// Bytes of the buffer: what one system call moves at most.
pub(crate) const SIZE: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
}

/// Lends the buffer of this thread. Must not be nested.
pub(crate) fn with<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| work(buffer))
}

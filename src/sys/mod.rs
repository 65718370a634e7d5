//! (in the making)

pub mod pidfd;

//! Capturing the packets of interfaces.

pub mod filter;

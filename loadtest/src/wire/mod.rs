//! The protocol on the wire: frames, the messages in them, and how a request is spelled.
//! Sockets and what a scenario does with a message are elsewhere.

pub(crate) mod frame;
pub(crate) mod message;
pub(crate) mod request;
pub(crate) mod scan;

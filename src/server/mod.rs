//! How requests come in: addresses, sockets, certificates. Knows HTTP, but not who answers.

pub mod address;
pub mod certificate;
pub mod forwarded;
pub mod listen;
pub mod tls;

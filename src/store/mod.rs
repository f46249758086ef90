//! (being written)

pub mod principals;

//! What every request passes, one concern per file. `api::front` puts them in order.

pub(super) mod budget;
pub(super) mod cors;
pub(super) mod decompress;
pub(super) mod denials;
pub(super) mod drain;
pub(super) mod head;
pub(super) mod limits;
pub(super) mod linger;
pub(super) mod observe;
pub(super) mod panics;
pub(super) mod parameters;
pub(super) mod problems;
pub(super) mod refusals;
pub(super) mod request_id;
pub(super) mod security_headers;

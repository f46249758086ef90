//! `eventlogger verify --url`

use super::{Failure, Options};

pub(super) fn run(_url: &str, _options: &Options) -> Result<(), Failure> {
    Err(Failure::Incomplete("not built yet".to_owned()))
}

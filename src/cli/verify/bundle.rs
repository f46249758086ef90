//! An exported bundle, offline.

use std::fmt::Write;
use std::io::{BufRead, Read};
use std::path::Path;

use anyhow::anyhow;

use super::super::{Failure, print};
use super::Options;
use crate::verify::bundle::{Bundle, Unreadable};

/// No line of a bundle is longer: a payload's megabyte, each of its bytes escaped.
const LINE_MAX: u64 = 16 << 20;

/// `first` is the first line of the file. `None` if that is none of a bundle.
pub(super) fn run(
    file: &Path,
    first: &str,
    mut rest: impl BufRead,
    options: &Options,
) -> Option<Result<(), Failure>> {
    let policy = match options.policy() {
        Ok(policy) => policy,
        Err(failure) => return Some(Err(failure)),
    };
    let bundle = Bundle::begin(first, policy.as_ref())?;
    let unusable = |error: Unreadable| Failure::Input(anyhow!("{}: {error}", file.display()));
    Some(bundle.map_err(unusable).and_then(|mut bundle| {
        let mut line = String::new();
        loop {
            line.clear();
            let read = (&mut rest).take(LINE_MAX).read_line(&mut line);
            match read.map_err(|error| Failure::Input(anyhow!("cannot read {}: {error}", file.display())))? {
                0 => break,
                _ => bundle.feed(&line).map_err(unusable)?,
            }
        }
        let unaccounted = bundle.finish().map_err(unusable)?;
        conclude(&bundle, unaccounted)
    }))
}

fn conclude(bundle: &Bundle, unaccounted: usize) -> Result<(), Failure> {
    if !bundle.findings.is_empty() {
        let mut lines: Vec<_> =
            bundle.findings.kept.iter().map(|finding| format!("found: {finding}")).collect();
        if bundle.findings.more > 0 {
            lines.push(format!("and {} more", bundle.findings.more));
        }
        return Err(Failure::Refuted(anyhow!(lines.join("\n"))));
    }
    let mut text = String::new();
    let mut say = |what: &str, how: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what:<11} {how}");
    };
    say("events", &format!("{}, each as it was recorded", bundle.events));
    say("filter", &format!("{}, as the exporter states", bundle.filter));
    if let Some(checkpoint) = &bundle.checkpoint {
        say("tree", &format!("all in the first {} entries of {}", checkpoint.size, checkpoint.origin));
    }
    if unaccounted > 0 {
        say("redacted", &format!("{unaccounted} events, by entries that are not in the bundle"));
    }
    let signature = match bundle.signed {
        true => "right, by the key that the policy pins",
        false => "NOT checked: no key is pinned. Fetch the policy once, from where you trust: see --help",
    };
    say("signature", signature);
    say("complete", "not shown: that nothing else in the log matches is the exporter's word");
    print(&text)?;
    match bundle.signed && unaccounted == 0 {
        true => Ok(()),
        false => {
            Err(Failure::Incomplete("nothing wrong was found, but not everything was checked".to_owned()))
        }
    }
}

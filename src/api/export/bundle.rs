//! Exports that prove themselves: each event with its entry, its salts, and its path to the one checkpoint at the top.
//! `eventlogger verify` reads them (`verify::bundle`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::api::integrity::base64_of;
use crate::event::Event;
use crate::json::quote;
use crate::merkle::Hash;
use crate::store::evidence::Evidence;

/// The first line. The filter stands in it as text.
pub(super) fn header(filter: &str, checkpoint: &str) -> String {
    format!("{{\"bundle\":1,\"filter\":{},\"checkpoint\":{}}}\n", quote(filter), quote(checkpoint))
}

pub(super) fn write(out: &mut String, event: &Event, evidence: &Evidence, path: &[Hash]) {
    let salt = |salt: &Option<Vec<u8>>| salt.as_ref().map(|salt| STANDARD.encode(salt));
    let envelope = event.envelope.as_ref().filter(|_| evidence.envelope_salt.is_some());
    let mut line = json!({
        "seq": event.seq,
        "entry": STANDARD.encode(&evidence.entry),
        "inclusion_path": base64_of(path),
    });
    let members = [
        ("envelope", envelope.map(|envelope| envelope.canonical())),
        ("envelope_salt", salt(&evidence.envelope_salt)),
        ("payload", evidence.payload.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())),
        ("payload_salt", salt(&evidence.payload_salt)),
        ("redacted", evidence.redacted.map(|scope| scope.name().to_owned())),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            line[name] = value.into();
        }
    }
    out.push_str(&line.to_string());
    out.push('\n');
}

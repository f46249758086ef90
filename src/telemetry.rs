//! Logging: one record, one line, on standard error.
//!
//! Records carry text that strangers chose (paths, user names). Whatever could forge a line, drive a
//! terminal or reorder text is escaped on the way out, whichever format is used.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Starts logging for the whole process; a second call is an error.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter)?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    // No colours: they are escape sequences, which Escaping cannot tell from a stranger's.
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Escaping(io::stderr()));
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init()?;
    } else {
        registry.with(lines.with_target(false)).try_init()?;
    }
    Ok(())
}

/// Escapes what it is given. The formatters write each record with one call, ended by a newline.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut escaped = String::with_capacity(text.len());
        for character in line.chars() {
            push(&mut escaped, character);
        }
        escaped.push('\n');
        self.0.write_all(escaped.as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Escapes as JSON does, which a reader of either format understands.
fn push(line: &mut String, character: char) {
    match character {
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        _ if is_unsafe(character) => {
            // Writing to a String cannot fail.
            let _ = write!(line, "\\u{:04x}", u32::from(character));
        }
        _ => line.push(character),
    }
}

/// Text of several lines for a terminal, which no stranger's text in it may command.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => printable.push('\n'),
            other => push(&mut printable, other),
        }
    }
    printable
}

/// C0, DEL and C1 controls, line separators, and the marks that reorder or hide text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str = "a\nb\r\u{1b}[31m\u{0}\u{7f}\u{9b}\u{202e}\u{2066}\u{2028}\u{2029}\u{feff}é\t\"\\";

    fn logged(json: bool) -> String {
        let captured = Captured::default();
        let sink = captured.clone();
        let lines =
            tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || Escaping(sink.clone()));
        let emit = || {
            let span = tracing::info_span!("request", path = HOSTILE);
            let _entered = span.enter();
            tracing::info!(user = HOSTILE, shown = %HOSTILE, debug = ?HOSTILE, "{HOSTILE}");
        };
        if json {
            tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.json()), emit);
        } else {
            tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), emit);
        }
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    fn assert_one_harmless_line(text: &str) {
        let line = text.strip_suffix('\n').unwrap();
        assert!(line.contains('é'), "{line}");
        assert!(!line.chars().any(is_unsafe), "{line:?}");
    }

    #[test]
    fn a_hostile_record_is_one_harmless_line_of_text() {
        assert_one_harmless_line(&logged(false));
    }

    #[test]
    fn a_hostile_record_is_one_harmless_line_of_json_that_keeps_its_text() {
        let line = logged(true);
        assert_one_harmless_line(&line);
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(record["fields"]["user"], HOSTILE);
    }
}

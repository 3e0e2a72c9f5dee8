//! `--info`: asks what a server sees of this client, and prints it.

use std::io::{self, Write};
use std::time::Instant;

use serde_json::Value;

use super::notice::{Notice, Phase};
use crate::address::Address;
use crate::cli::ProbeArgs;
use crate::client::{Exchange, Failure, Symptom, connect};
use crate::command::info::ANSWER_MAX;
use crate::command::{Outcome, logging};
use crate::error::{Context, Error};
use crate::text::{Escaped, escape_json};

/// The parts of an answer, in the order of the table.
const PARTS: [&str; 4] = ["socket", "peer", "process", "activation"];

/// Asks at each address. The exit status is that of the first one that failed.
pub(super) fn run(args: &ProbeArgs, addresses: &[Address]) -> Outcome {
    let mut status = 0;
    for address in addresses {
        let document = match ask(address, args) {
            Ok(document) => document,
            Err(failure) => {
                let failed = failure.symptom.kind().exit_status();
                status = if status == 0 { failed } else { status };
                logging::report(&Error::from(failure));
                continue;
            }
        };
        let text =
            if args.json { line(&document) } else { Ok(table(&address.to_string(), &document)) };
        let mut stdout = io::stdout();
        let written = text.and_then(|text| stdout.write_all(text.as_bytes()));
        match written.and_then(|()| stdout.flush()) {
            // A reader that closes the pipe needs no more output.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            result => result.context("write to standard output")?,
        }
    }
    Ok(status)
}

/// The answer of the server at the address.
fn ask(address: &Address, args: &ProbeArgs) -> Result<Value, Failure> {
    let timeout = args.timeout;
    let notice = Notice::start(address, timeout);
    let question = question();
    // Of an echo, the first bytes are enough.
    let is_complete = |got: &[u8]| got.ends_with(b"\n") || !got.starts_with(b"{");
    let answer = notice.until_somebody_listens(args.wait, |patience| {
        let mut exchange = Exchange { connection: connect(address, patience)?, timeout };
        notice.phase(Phase::Reply { first: true }, Instant::now());
        exchange.ask(&question, ANSWER_MAX, is_complete)
    })?;
    if !answer.is_empty() && question.starts_with(&answer) {
        let message = format!("{address}: this socket echoes");
        return Err(Failure::new(Symptom::Echoes, address, message));
    }
    understand(&answer).ok_or_else(|| {
        const SHOWN: usize = 100;
        let shown = Escaped::of_bytes(&answer[..answer.len().min(SHOWN)]);
        let message = format!("{address}: this is no answer of `serve --info`: `{shown}`");
        Failure::new(Symptom::NoInfo, address, message)
    })
}

/// A datagram has to be a third as long as its answer.
fn question() -> Vec<u8> {
    let mut question = b"socket-activate-echo probe --info".to_vec();
    question.resize(ANSWER_MAX.div_ceil(3), b' ');
    question
}

/// The document, if it is one of `serve --info`.
fn understand(answer: &[u8]) -> Option<Value> {
    let document: Value = serde_json::from_slice(answer).ok()?;
    let is_one = document.get("schema").is_some_and(Value::is_u64)
        && PARTS.iter().all(|part| document.get(part).is_some_and(Value::is_object));
    is_one.then_some(document)
}

fn line(document: &Value) -> io::Result<String> {
    let text = serde_json::to_string(document)?;
    Ok(escape_json(&text) + "\n")
}

/// A row for each field, with its path in the document. Null is left out.
fn table(address: &str, document: &Value) -> String {
    let mut rows = Vec::new();
    for part in PARTS {
        collect(part, &document[part], &mut rows);
    }
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = format!("{address}\n");
    for (name, value) in rows {
        text += &format!("  {name:width$}  {value}\n");
    }
    text
}

fn collect(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (field, value) in fields {
                collect(&format!("{name}.{}", Escaped::new(field)), value, rows);
            }
        }
        Value::String(text) => rows.push((name.to_owned(), Escaped::new(text).to_string())),
        other => rows.push((name.to_owned(), Escaped::new(&other.to_string()).to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_the_server_is_understood() {
        let answer = r#"{"schema":1,"socket":{},"peer":{},"process":{},"activation":{}}"#;
        assert!(understand(answer.as_bytes()).is_some());
        for other in ["", "{}", "[1]", "hello", r#"{"schema":1,"socket":1}"#, &answer[..40]] {
            assert!(understand(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn a_table_is_aligned_and_controls_no_terminal() {
        let document = serde_json::json!({
            "schema": 1,
            "socket": {"fd": 3, "name": "a\u{1b}\nb"},
            "peer": {"address": "127.0.0.1", "port": null},
            "process": {"\u{1b}": ["\u{9b}"]},
            "activation": {},
        });
        assert_eq!(
            table("tcp:127.0.0.1:1", &document),
            "tcp:127.0.0.1:1\n  \
             socket.fd     3\n  \
             socket.name   a\\x1b\\x0ab\n  \
             peer.address  127.0.0.1\n  \
             process.\\x1b  [\"\\xc2\\x9b\"]\n"
        );
    }
}

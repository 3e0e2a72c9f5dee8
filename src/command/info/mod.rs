//! `serve --info NAME`: sockets that answer with what the server sees. docs/info.md has the fields.
//!
//! What needs a file, the environment or the name of the host is collected before the server is
//! confined. Only the peer is asked for each answer, with getpeername(2) and getsockopt(2).

mod document;
mod peer;
mod request;
mod short;
mod socket;

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::activation::InheritedSocket;
use crate::error::{Error, ErrorKind, Result};
use crate::server::{Answer, Asker, Question, Response};
use crate::text::{self, Escaped};
use document::{Activation, Document, Process, SCHEMA};
use peer::Peer;
use request::Request;
use socket::Socket;

/// The longest answer, in bytes. A question of a third of that is long enough for every datagram.
pub(in crate::command) const ANSWER_MAX: usize = 3600;
/// What every datagram of an answering socket begins with: a document, or a line that it is too short
/// for one. A datagram that is shorter than these is too short for the line as well.
const BEGINS: [&str; 2] = ["{\"schema\":", "info: send"];

/// What the sockets answer.
#[derive(Debug)]
pub(super) struct Info {
    /// By the number of the inherited socket; `None` if it echoes.
    sockets: Vec<Option<Socket>>,
    process: Process,
    started_us: u64,
    first_byte_us: OnceLock<u64>,
}

impl Info {
    /// What is known before the first question, if any of the sockets has one of the `names`.
    ///
    /// # Errors
    ///
    /// No socket has one of the names.
    pub(super) fn collect(names: &[String], sockets: &[InheritedSocket]) -> Result<Option<Self>> {
        if names.is_empty() {
            return Ok(None);
        }
        for name in names {
            if !sockets.iter().any(|socket| socket.name == *name) {
                return Err(unknown(name, sockets));
            }
        }
        let socket =
            |socket: &InheritedSocket| names.contains(&socket.name).then(|| Socket::of(socket));
        Ok(Some(Self {
            sockets: sockets.iter().map(socket).collect(),
            process: Process::this(),
            started_us: now_us(),
            first_byte_us: OnceLock::new(),
        }))
    }

    fn document(&self, socket: &Socket, asker: Asker<'_>) -> String {
        let asked_us = now_us();
        let first_byte_us = *self.first_byte_us.get_or_init(|| asked_us);
        let document = Document {
            schema: SCHEMA,
            socket,
            peer: Peer::of(asker, socket),
            process: &self.process,
            activation: Activation { started_us: self.started_us, first_byte_us, asked_us },
        };
        // There is no key that is not text, so it cannot fail.
        let text = serde_json::to_string(&document).unwrap_or_default();
        text::escape_json(&text) + "\n"
    }
}

impl Answer for Info {
    fn is_for(&self, socket: usize) -> bool {
        self.sockets.get(socket).is_some_and(Option::is_some)
    }

    fn answer(&self, question: &Question<'_>) -> Response {
        let Some(Some(socket)) = self.sockets.get(question.socket) else {
            return Response::Nothing("the socket has no answers");
        };
        match question.asker {
            Asker::Sender(..) => datagram(question.bytes, || self.document(socket, question.asker)),
            Asker::Connection(_) if socket.is_stream => {
                match Request::of(question.bytes, question.is_whole) {
                    Request::Incomplete => Response::Incomplete,
                    request => {
                        Response::Bytes(request.response(self.document(socket, question.asker)))
                    }
                }
            }
            Asker::Connection(_) => {
                Response::Bytes(self.document(socket, question.asker).into_bytes())
            }
        }
    }

    fn has_received(&self) {
        self.first_byte_us.get_or_init(now_us);
    }
}

/// Answers a datagram, which may come from the answering socket of another server, or from an echo
/// of our own answer, because anybody can forge its sender. All that such a socket sends begins with
/// one of two texts, an echo sends the same back, and what begins so is not answered. An echo that is
/// cut begins so too, or is too short for any answer. So there are at most two datagrams more.
fn datagram(question: &[u8], document: impl FnOnce() -> String) -> Response {
    if BEGINS.iter().any(|begin| question.starts_with(begin.as_bytes())) {
        return Response::Nothing("it is an answer of `serve --info`");
    }
    let most = 3 * question.len();
    let document = document();
    if document.len() <= most {
        return Response::Bytes(document.into_bytes());
    }
    let line = format!("{} at least {} bytes\n", BEGINS[1], document.len().div_ceil(3));
    if line.len() > most {
        return Response::Nothing("it is too short: an answer is at most three times as long");
    }
    Response::Bytes(line.into_bytes())
}

fn unknown(name: &str, sockets: &[InheritedSocket]) -> Error {
    let mut names: Vec<_> =
        sockets.iter().map(|socket| Escaped::new(&socket.name).to_string()).collect();
    names.sort();
    names.dedup();
    let (name, names) = (Escaped::new(name), names.join(", "));
    let message = format!("--info {name}: no socket has this fd name; the names are: {names}");
    Error::new(ErrorKind::Usage, message).remedy(
        "use one of them, or give a socket the name: FileDescriptorName= in the socket unit, \
         `activate --fdname`",
    )
}

/// The time of the clock, as microseconds of unix time.
fn now_us() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts as long as they can be, with what needs the longest escapes.
    #[test]
    fn the_longest_document_has_room() {
        let long = "\u{1b}\"\u{202e}".repeat(1000);
        let info = Info {
            sockets: Vec::new(),
            process: Process::longest(&long),
            started_us: u64::MAX,
            first_byte_us: OnceLock::from(u64::MAX),
        };
        let document = Document {
            schema: SCHEMA,
            socket: &Socket::longest(&long),
            peer: Peer::longest(&long),
            process: &info.process,
            activation: Activation {
                started_us: u64::MAX,
                first_byte_us: u64::MAX,
                asked_us: u64::MAX,
            },
        };
        let text = text::escape_json(&serde_json::to_string(&document).expect("JSON"));
        assert!(text.starts_with(BEGINS[0]), "{text}");
        assert!(text.len() < ANSWER_MAX, "{}: {text}", text.len());
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    }

    #[test]
    fn a_datagram_gets_at_most_three_times_its_length() {
        let document = || format!("{}{}\n", BEGINS[0], "x".repeat(600));
        for len in (0..400).chain([1200, 65_507]) {
            match datagram(&vec![b'?'; len], document) {
                Response::Bytes(bytes) => {
                    assert!(bytes.len() <= 3 * len, "{len}: {}", bytes.len());
                    let whole = document().len();
                    assert_eq!(bytes.len() == whole, 3 * len >= whole, "{len}");
                    // Nobody answers what is sent here, not even if a part is missing at its end.
                    for cut in 0..=bytes.len() {
                        let again = datagram(&bytes[..cut], document);
                        assert!(matches!(again, Response::Nothing(_)), "{len} {cut}: {again:?}");
                    }
                }
                response => assert!(len < 11, "{len}: {response:?}"),
            }
        }
        let said = datagram(&[b'?'; 20], document);
        assert_eq!(said, Response::Bytes(b"info: send at least 204 bytes\n".to_vec()));
    }
}

//! What `inspect --json` has seen inside.

use std::os::fd::AsFd;

use rustix::net::sockopt::socket_cookie;
use serde_json::Value;

use super::case::Miss;
use crate::activator::Bound;

/// The document of `inspect`.
pub(super) struct Inspection(Value);

/// A descriptor that arrived.
pub(super) struct Arrived<'a>(&'a Value);

impl Inspection {
    /// The document is the last thing that is printed, and begins a line. An engine may print
    /// something before it, JSON of its own included.
    pub(super) fn parse(output: &str) -> Option<Self> {
        let begins_line = |at: &usize| *at == 0 || output[..*at].ends_with(['\n', '\r']);
        let mut starts = output.match_indices('{').map(|(at, _)| at).filter(begins_line);
        starts.find_map(|start| serde_json::from_str(output[start..].trim_end()).map(Self).ok())
    }

    pub(super) fn get(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The descriptors that the program was told of.
    ///
    /// # Errors
    ///
    /// A [`Miss`] with the reason for which it takes none.
    pub(super) fn arrived(&self) -> Result<Vec<Arrived<'_>>, Miss> {
        let fds: Vec<_> = elements(self.get("/fds")).map(Arrived).collect();
        match self.get("/serve/error").as_str() {
            Some(error) if fds.is_empty() => Err(Miss::Fail(error.to_owned())),
            _ => Ok(fds),
        }
    }

    /// The variable of the environment: its value, whether it is right, and a note.
    pub(super) fn variable(&self, name: &str) -> (Option<&str>, bool, &str) {
        let is_it = |row: &&Value| row["name"] == name;
        match elements(self.get("/environment")).find(is_it) {
            Some(row) => (
                row["value"].as_str(),
                row["ok"].as_bool().unwrap_or(false),
                row["note"].as_str().unwrap_or_default(),
            ),
            None => (None, true, "not set"),
        }
    }

    /// The open descriptors that nobody announced, without the standard streams.
    pub(super) fn strays(&self) -> Vec<String> {
        let is_stray = |row: &&Value| row["announced"].is_null() && row["fd"].as_i64() > Some(2);
        let shown = |row: &Value| {
            let target = row["target"].as_str().or(row["what"].as_str()).unwrap_or("?");
            format!("fd {} ({target})", row["fd"])
        };
        elements(self.get("/open")).filter(is_stray).map(shown).collect()
    }
}

impl Arrived<'_> {
    pub(super) fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or_default()
    }

    pub(super) fn get(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// What it is, in words.
    pub(super) fn what(&self) -> &str {
        self.0["what"].as_str().unwrap_or("?")
    }

    /// Whether it is this very socket: `SO_COOKIE` is a number that the kernel gives only once.
    pub(super) fn is(&self, socket: &Bound) -> bool {
        let cookie = socket_cookie(socket.as_fd()).ok();
        cookie.is_some() && self.get("/socket/options/cookie").as_u64() == cookie
    }
}

fn elements(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_may_have_anything_before_it() {
        for (output, found) in [
            ("{\"schema\": 1}\n", true),
            ("Trying to pull {x}...\r\n{\"level\": 3}\n{\n  \"schema\": 1\n}\r\n", true),
            ("{\"schema\": 1}\nmore", false),
            ("it is {\"schema\": 1}", false),
            ("{\"schema\":", false),
            ("", false),
        ] {
            let schema = Inspection::parse(output).map(|one| one.get("/schema").clone());
            assert_eq!(schema, found.then(|| Value::from(1)), "{output:?}");
        }
    }
}

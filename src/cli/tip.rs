//! What to write in place of a command line that clap refuses, where the mistake is about addresses
//! and not about spelling.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};

use crate::address::{Address, ParseAddressError};
use crate::text::quote;

/// The flags of other programs that bind, and ours of `activate`.
const BIND: [&str; 7] = ["-l", "--listen", "-p", "--port", "-b", "--bind", "--address"];

/// What was meant, if it can be told from the refused argument. `arguments` are those of the
/// program, without its name.
pub fn tip(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let refused = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand];
    let refused = refused.into_iter().find_map(|kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    })?;
    let first = arguments.first().and_then(|first| first.to_str()).unwrap_or_default();
    if let Some(address) = address(refused).filter(|_| first == refused) {
        return Some(format!("to send there, write `probe {}`", quote(address.to_string())));
    }
    let flag = refused.split('=').next()?;
    let address = match BIND.contains(&flag) {
        true => value(flag, arguments),
        false => Some(address(refused)?),
    };
    let address = address.map_or_else(|| "ADDR".to_owned(), |address| quote(address.to_string()));
    Some(match first {
        "probe" | "bench" => format!("write the address without a flag: `{first} {address}`"),
        "activate" => format!("bind with `activate -l {address}`"),
        "inspect" => format!(
            "inspect takes its sockets from the activator; bind with \
             `activate --now -l {address} socket-activate-echo inspect`"
        ),
        _ => {
            format!("serve takes its sockets from the activator; bind with `activate -l {address}`")
        }
    })
}

/// The address that `text` is, or was meant to be.
fn address(text: &str) -> Option<Address> {
    text.parse().or_else(|error: ParseAddressError| error.meant().cloned().ok_or(error)).ok()
}

/// The value of a flag: behind an equals sign, or the next argument.
fn value(flag: &str, arguments: &[OsString]) -> Option<Address> {
    let mut arguments = arguments.iter().filter_map(|argument| argument.to_str());
    let rest = arguments.find_map(|argument| argument.strip_prefix(flag))?;
    address(if rest.is_empty() { arguments.next()? } else { rest.trim_start_matches('=') })
}

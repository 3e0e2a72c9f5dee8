//! The flags of `conform`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::some_seconds;
use crate::address::Address;

/// The flags of `conform`.
#[derive(Debug, Clone, Args)]
pub struct ConformArgs {
    /// How to print the results
    ///
    /// `table` is for people, `tap` is the Test Anything Protocol, `junit` the XML that CI systems
    /// read, `json` one document for programs.
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub format: Format,
    /// Run only the cases whose name matches; may be repeated
    ///
    /// `*` stands for any characters, `?` for one.
    #[arg(long = "case", value_name = "GLOB")]
    pub cases: Vec<String>,
    /// A file of known results
    ///
    /// Each line has the name of a case, or a GLOB, and `pass`, `fail`, `skip` or `any`; `#`
    /// begins a comment. The last line that matches a case counts. A case that no line names has to
    /// pass, or to be skipped.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub expect: Option<PathBuf>,
    /// How long to wait for each answer and each end [default: 30]
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = some_seconds, hide_default_value = true)]
    pub timeout: Duration,
    /// Check a hypervisor's vsock multiplexer instead of a COMMAND
    ///
    /// ADDR is vsock-mux:/path/to.sock:PORT. The unix socket belongs to Firecracker, Cloud
    /// Hypervisor or vhost-device-vsock; on PORT, `serve` runs in the guest.
    #[arg(long, value_name = "ADDR", value_parser = vsock_mux, conflicts_with = "command")]
    pub vsock_mux: Option<Address>,
    /// List the cases instead of running them
    #[arg(long)]
    pub list: bool,
    /// The command to check; it has to end in this program
    ///
    /// `inspect --json` or `serve`, with flags, are appended to it.
    #[arg(trailing_var_arg = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

fn vsock_mux(text: &str) -> Result<Address, String> {
    match text.parse() {
        Ok(address @ Address::VsockMux(..)) => Ok(address),
        Ok(_) => Err("vsock-mux:/path/to.sock:PORT is expected".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// How `conform` prints its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A row for each case.
    Table,
    /// TAP version 13.
    Tap,
    /// JUnit XML.
    Junit,
    /// One JSON document.
    Json,
}

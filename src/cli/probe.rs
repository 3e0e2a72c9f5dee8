//! The flags of `probe`.

use std::time::Duration;

use clap::Args;

use super::{seconds, size};
use crate::address::Address;

/// The flags of `probe`.
#[derive(Debug, Clone, Default, Args)]
pub struct ProbeArgs {
    /// Where to send [default: the demo set of `activate`]
    #[arg(value_name = "ADDR")]
    pub addresses: Vec<Address>,
    /// Messages to send to each address
    ///
    /// All of them go over one connection.
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// Bytes of each message
    ///
    /// At most 1073741824 over a stream, else what fits into one packet: 65507 for UDP over IPv4,
    /// 65527 over IPv6, the send buffer for unix. 0 is an empty datagram.
    #[arg(short, long, value_name = "BYTES", default_value = "64", value_parser = size)]
    pub size: usize,
    /// Time limit for connect and each reply
    ///
    /// A reply has this long to begin, and again after each part of it. The first one may have to
    /// wait for the start of a container, or for the download of its image.
    #[arg(short, long, value_name = "SECONDS", default_value = "30", value_parser = seconds, allow_negative_numbers = true)]
    pub timeout: Duration,
    /// Retry until something listens, within --timeout
    ///
    /// The time limit of the first reply begins after that.
    #[arg(short, long)]
    pub wait: bool,
    /// Print one JSON document instead of rows
    #[arg(long)]
    pub json: bool,
    /// Ask each ADDR what its server sees, and print the answer
    ///
    /// The server has to run `serve --info NAME`, where NAME is the fd name of the socket at ADDR:
    /// docs/info.md. The answer is printed as a table, and with --json as it is, a line for each
    /// ADDR.
    #[arg(long, requires = "addresses", conflicts_with_all = ["count", "size", "interactive"], hide_short_help = true)]
    pub info: bool,
    /// Send the lines of standard input to one ADDR
    ///
    /// The echo of each line is shown with its time.
    #[arg(short, long, conflicts_with_all = ["count", "size", "json"])]
    pub interactive: bool,
}

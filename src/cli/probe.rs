//! The flags of `probe`.

use std::time::Duration;

use clap::Args;

use super::{help, seconds, size};
use crate::address::Address;

/// The flags of `probe`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = help::PROBE_EXAMPLES, after_long_help = help::probe())]
pub struct ProbeArgs {
    /// Where to send [default: the demo set of `activate`]
    #[arg(value_name = "ADDR")]
    pub addresses: Vec<Address>,
    /// Messages to send to each address, over one connection
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// Bytes of each message: over a stream up to 1073741824, else as many as one packet of the
    /// family takes (UDP: 65507 over IPv4, 65527 over IPv6; unix: the send buffer); 0 is an empty
    /// datagram
    #[arg(short, long, value_name = "BYTES", default_value = "64", value_parser = size)]
    pub size: usize,
    /// How long to wait for a connection, and for each reply to begin and to go on: the first may
    /// start a container or pull its image
    #[arg(short, long, value_name = "SECONDS", default_value = "30", value_parser = seconds, allow_negative_numbers = true)]
    pub timeout: Duration,
    /// Retry until something listens, for at most --timeout; the wait for the reply comes after
    #[arg(short, long)]
    pub wait: bool,
    /// Print one JSON document instead of rows
    #[arg(long)]
    pub json: bool,
    /// Send the lines of standard input to one ADDR, and show the echo of each with its time
    #[arg(short, long, conflicts_with_all = ["count", "size", "json"])]
    pub interactive: bool,
}

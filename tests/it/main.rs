//! The tests of the program through its activators, on real sockets.

#![allow(clippy::disallowed_methods, reason = "the tests are a program of their own")]

mod activate;
mod activate_faults;
mod activate_restart;
mod activators;
mod announce;
mod architecture;
mod bench;
mod clients;
mod conform;
mod conform_mux;
mod datagrams;
mod docs;
mod example;
mod exit_idle;
mod extremes;
mod faults;
mod fd_store;
mod generated;
mod handover;
mod help;
mod idle;
mod info;
mod inspect;
mod installed;
mod keep;
mod kept;
mod kit;
mod lifecycle;
mod limits;
#[path = "../shared/load.rs"]
mod load;
mod memory;
mod notify;
mod outside;
#[path = "../shared/page.rs"]
mod page;
mod per_source;
mod probe;
mod programs;
mod random;
mod readme;
mod refusals;
mod sandbox;
mod scripts;
mod serve_flags;
mod steady;
mod strangers;
mod table;
mod unread;
mod usage;
mod vitals;
mod workers;

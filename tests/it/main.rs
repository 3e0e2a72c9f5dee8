//! The tests of the program through its activators, on real sockets.

mod activate;
mod activators;
mod architecture;
mod bench;
mod clients;
mod datagrams;
mod docs;
mod example;
mod extremes;
mod generated;
mod handover;
mod inspect;
mod kit;
mod lifecycle;
mod limits;
mod notify;
mod outside;
mod peers;
mod probe;
mod readme;
mod refusals;
mod serve_flags;
mod steady;
mod strangers;
mod table;
mod workers;

//! The tests of the program through its activators, on real sockets.

mod activate;
mod activators;
mod bench;
mod clients;
mod handover;
mod inspect;
mod kit;
mod notify;
mod probe;
mod serve_flags;
mod table;

//! The tests of the program through its activators, on real sockets.

mod activate;
mod activators;
mod bench;
mod clients;
mod kit;
mod notify;
mod table;

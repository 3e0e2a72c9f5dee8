//! Ancillary data: nothing panics whatever is cut off, and what is answered with is what came.
#![no_main]

use libfuzzer_sys::fuzz_target;

use sys::control::{REPLY_CONTROL_MAX, Received, parse, write};

// No part of the library's interface, so it is compiled in here.
#[allow(dead_code, unexpected_cfgs)]
#[path = "../../src/sys/mod.rs"]
mod sys;

fuzz_target!(|bytes: &[u8]| {
    let received = parse(bytes);
    let mut reply = [0; REPLY_CONTROL_MAX];
    let len = write(&mut reply, &received);
    let Received { packet_info, hop_limit, .. } = received;
    // The size of segments is written as UDP_SEGMENT and read as UDP_GRO; no user is written.
    let answered = Received { packet_info, hop_limit, ..Received::default() };
    assert_eq!(parse(&reply[..len]), answered);
});

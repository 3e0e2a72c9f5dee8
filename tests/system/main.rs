//! The program in its real environments: container images built from the Containerfile, Podman with
//! both OCI runtimes, systemd as PID 1 with a user manager, and the shipped units.
//!
//! These tests need root, the Debian packages of `tests/beds/packages.txt`, and some minutes. A
//! test that this machine cannot run is listed with the reason; with `REQUIRE_SYSTEM_TESTS=1` it
//! fails.

#![allow(clippy::disallowed_methods, reason = "the tests are a program of their own")]

mod arch;
mod beds;
mod butane;
mod conform;
mod images;
mod info;
mod keep;
mod kit;
mod kubernetes;
mod lifecycle;
#[path = "../shared/load.rs"]
mod load;
mod matrix;
#[path = "../shared/page.rs"]
mod page;
mod pages;
mod plain;
mod podman;
mod systemd;
mod units;
mod vm;

//! Text from outside: shown it is one line that no terminal obeys and that is read back as it was,
//! and in a message to the service manager it stays within its assignment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socket_activate_echo::address::{Address, Style, UnixName};
use socket_activate_echo::notify::{FdName, Message, State};
use socket_activate_echo::text::Escaped;
use socket_activate_echo_fuzz::check_shown;

fuzz_target!(|bytes: &[u8]| {
    let shown = Escaped::of_bytes(bytes).to_string();
    if !shown.trim().is_empty() {
        check_shown(&shown);
    }
    assert_eq!(Escaped::new(&shown).to_string(), shown);

    let name = bytes[..bytes.len().min(107)].to_vec();
    let address = Address::Unix(Style::Stream, UnixName::Abstract(name.clone()));
    match address.to_string().parse::<Address>() {
        Ok(parsed) => assert_eq!(parsed, address),
        Err(error) => assert!(name.is_empty(), "{error}"),
    }

    let text = String::from_utf8_lossy(bytes);
    for (state, key) in [(State::Status(&text), "STATUS="), (State::BusError(&text), "BUSERROR=")] {
        let told = state.to_string();
        let value = told.strip_prefix(key).expect("the assignment that was asked for");
        assert!(!value.contains(char::is_control) && value.len() <= text.len());
        // The manager drops a message of more than 4096 bytes.
        assert!(told.len() < 4096);
        assert_eq!(Message::new(&[State::Ready, state]).to_string(), format!("READY=1 {told}"));
    }
    if let Some(name) = FdName::new(&text) {
        assert_eq!(name.to_string(), text);
        check_shown(&format!("FDNAME={name}"));
        assert!(name.to_string().len() <= FdName::LEN_MAX && !text.contains(':'));
    }
});

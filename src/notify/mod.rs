//! sd_notify(3): telling the service manager how we are.

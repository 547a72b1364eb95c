//! The gateway, driven through its router with a scripted broker behind it, and once through a real socket.

#![expect(clippy::unwrap_used, reason = "a test fails where what it expects is not there")]

mod append;
mod bad_input;
mod fake;
mod health;
mod json;
mod read;
mod socket;

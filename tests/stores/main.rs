//! Fragment stores on the real thing: one list of cases that every store passes, and the faults that stores and the
//! way to them have.

mod broker;
mod cases;
mod faults;
mod hostile;
mod secrets;
mod site;
mod suite;

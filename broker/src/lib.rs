//! Serves journals: finds them, puts their appends in order, and reads them back.

mod append;
mod read;

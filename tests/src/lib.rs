//! Courant.

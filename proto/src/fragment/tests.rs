//! Tests of fragments and their names.

//! Tests of specs.

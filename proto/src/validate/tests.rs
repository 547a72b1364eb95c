//! Tests of the rules of requests and responses.

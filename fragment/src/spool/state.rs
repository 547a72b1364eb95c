//! Pure: x

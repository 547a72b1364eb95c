//! What is answered of stores that work, fail, and were never tried.


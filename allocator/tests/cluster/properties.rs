//! What holds of all clusters.

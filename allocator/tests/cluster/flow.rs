//! A slow exact maximum flow.

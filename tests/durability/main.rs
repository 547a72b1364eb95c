//! What each durability promises, on disks that lose their power and on disks that are full.

mod disk;
mod full;
mod power;
mod scene;

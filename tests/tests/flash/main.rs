//! Flashing as technicians do it, onto files and loop devices: a disk that was used, what is refused
//! and leaves the disk as it was, and what is left of a flashing that was cut off.

mod disk;
mod provision;
mod refuse;
mod reset;
mod stick;
mod write;

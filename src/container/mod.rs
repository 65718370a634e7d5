//! The lifecycle of a container: create, start, exec, kill, pause, delete.

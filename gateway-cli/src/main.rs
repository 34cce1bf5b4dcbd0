//! gateway
fn main(){}

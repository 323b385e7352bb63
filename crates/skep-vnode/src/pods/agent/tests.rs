mod defects;
mod faults;
mod life;
mod truth;

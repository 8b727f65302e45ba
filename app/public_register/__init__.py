"""The public register: what is measured where, why, by what right, how long, and who answers. No sign-in."""

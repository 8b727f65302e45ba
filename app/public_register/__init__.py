"""The public register: measuring sites with purposes, legal bases, retention and operator. No sign-in."""

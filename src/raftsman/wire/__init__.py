"""The API on the wire: what users submit and what they are shown; pure, and imported by client and server alike."""

"""The edge as a camera: a video's packets go up, and what the server finds in them comes down."""

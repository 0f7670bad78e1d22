"""`-t svg`: a program as a picture: its flow graph, coloured by where it runs.  `scene` says what is in it, `layers`
where everything goes, `svg` draws."""

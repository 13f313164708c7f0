"""What a person sees of the server in a browser: sign-in, consent, devices, connected clients.

Few pages, rendered here, that need no script and load nothing. Text becomes HTML in one way only, by
``Markup.format``, which escapes whatever is not markup already.
"""

// Tells the server the browser's time zone: pages show times by the reader's clock (`webapp/clock.py`).

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) document.cookie = `timezone=${zone}; path=/; max-age=31536000; SameSite=Lax`;

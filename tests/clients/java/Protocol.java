/** The line protocol of adapters: `open` for each stream that opens, `event {json}` for each message that a library hands out. */
final class Protocol {
    /** Delay before an application reconnects by itself. */
    static final long RECONNECT_MILLIS = 300;

    private Protocol() {}

    /** Reports an opened stream. */
    static void open() {
        line("open");
    }

    /** Reports a message that a library handed out. */
    static void event(String name, String data, String id) {
        String type = name == null || name.isEmpty() ? "message" : name;
        line("event {\"name\":" + json(type) + ",\"data\":" + json(data) + ",\"id\":" + json(id) + "}");
    }

    /** Reports a fault for the reader of a failed test. */
    static void fault(Object error) {
        line("fault " + String.valueOf(error).replace('\n', ' '));
    }

    private static synchronized void line(String text) {
        System.out.println(text);
        System.out.flush();
    }

    /** A JSON string in ASCII, or null. */
    private static String json(String text) {
        if (text == null) return "null";
        StringBuilder out = new StringBuilder("\"");
        for (char unit : text.toCharArray()) {
            boolean isPlain = unit >= ' ' && unit < 127 && unit != '"' && unit != '\\';
            out.append(isPlain ? String.valueOf(unit) : String.format("\\u%04x", (int) unit));
        }
        return out.append('"').toString();
    }
}

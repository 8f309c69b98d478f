import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A reader of outputs made from the README's words alone ("Reading what the worker says"), in another language.
 *
 * <p>Arguments: pool, logical topic, partitions, and perhaps sequence and chain to go on from. Standard input: records
 * as partition and size (4 bytes each, big-endian) and the value. Prints for each the sequences whose turn came, or
 * REPEAT or OTHER; at the end END and where it stands, or BROKEN where it had to stop.
 */
public class ContractReader {
    static final Pattern HEAD =
            Pattern.compile("\\{\"type\":\"[A-Za-z]+\",\"pool\":\"([^\"\\\\]*)\",\"sequence\":([0-9]+),\"chain\":\"([0-9a-f]{32})\"");

    record Waiting(String chain, String hash) {}

    public static void main(String[] args) throws Exception {
        String pool = args[0], topic = args[1];
        long[] newest = new long[Integer.parseInt(args[2])];
        long sequence = args.length > 3 ? Long.parseLong(args[3]) : 0;
        String chain = args.length > 3 ? args[4] : hash((pool + "/" + topic).getBytes(StandardCharsets.UTF_8));
        TreeMap<Long, Waiting> waiting = new TreeMap<>();
        TreeMap<Long, String> given = new TreeMap<>();
        given.put(sequence, chain);
        DataInputStream in = new DataInputStream(System.in);
        while (true) {
            int partition;
            try {
                partition = in.readInt();
            } catch (EOFException end) {
                break;
            }
            byte[] value = in.readNBytes(in.readInt());
            Matcher head = HEAD.matcher(new String(value, StandardCharsets.UTF_8));
            if (!head.lookingAt()) {
                System.out.println("BROKEN");
                return;
            }
            if (!head.group(1).equals(pool)) {
                System.out.println("OTHER");
                continue;
            }
            long number = Long.parseLong(head.group(2));
            String before = waiting.containsKey(number) ? waiting.get(number).hash() : given.get(number);
            if (number <= sequence || before != null) {
                if (before != null && !before.equals(hash(value))) {
                    System.out.println("BROKEN");
                    return;
                }
                System.out.println("REPEAT");
                continue;
            }
            if (number < newest[partition]) {
                System.out.println("BROKEN");
                return;
            }
            newest[partition] = number;
            waiting.put(number, new Waiting(head.group(3), hash(value)));
            StringBuilder now = new StringBuilder("GIVEN");
            boolean broken = false;
            while (waiting.containsKey(sequence + 1)) {
                Waiting next = waiting.get(sequence + 1);
                if (!next.chain().equals(chain)) {
                    broken = true;
                    break;
                }
                waiting.remove(++sequence);
                chain = next.hash();
                given.put(sequence, chain);
                now.append(' ').append(sequence);
            }
            broken |= !waiting.isEmpty() && Arrays.stream(newest).min().getAsLong() > sequence;
            if (!broken || now.length() > "GIVEN".length()) {
                System.out.println(now);
            }
            if (broken) {
                System.out.println("BROKEN");
                return;
            }
        }
        System.out.println(waiting.isEmpty() ? "END " + sequence + " " + chain : "BROKEN");
    }

    static String hash(byte[] bytes) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes)).substring(0, 32);
    }
}
